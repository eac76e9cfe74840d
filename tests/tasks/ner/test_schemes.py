"""Entities and labels: what other people's tools make of them."""

import json

import pytest

from bert_tf.tasks.ner import schemes
from bert_tf.tasks.ner.schemes import IOB1, IOB2, IOBES, NO_SCHEME, Entity


@pytest.fixture
def golden(data):
    return json.loads((data / "ner" / "schemes.json").read_text())


def test_each_scheme_writes_the_same_entities(golden):
    for case in golden["conversions"]:
        entities = [Entity(*span) for span in case["spans"]]
        for scheme in (IOB1, IOB2, IOBES):
            labels = schemes.write_labels(entities, case["length"], scheme)

            assert labels == case[scheme]
            assert schemes.find_entities(labels, scheme) == entities
            assert schemes.ill_formed(labels, scheme) == []


def test_ill_formed_labels_are_read_as_conlleval_does(golden):
    for case in golden["repairs"]:
        entities = [Entity(*span) for span in case["spans"]]

        assert schemes.find_entities(case["tags"]) == entities
        assert schemes.convert(case["tags"], IOB2, IOB2) == case["IOB2"]


@pytest.mark.parametrize(
    ("sentences", "scheme"),
    [
        (["I-A I-A O I-B", "I-A B-A"], IOB1),
        (["B-A I-A O B-B", "B-A B-A"], IOB2),
        (["B-A I-A O I-B", "B-A B-A O B-B"], IOB2),
        (["B-A E-A O S-B"], IOBES),
        (["O B-A", "S-A"], IOBES),
        (["B I I O"], IOB2),
        (["NN VB ."], NO_SCHEME),
        (["O PER O"], NO_SCHEME),
        (["O O", "O"], None),
    ],
)
def test_the_scheme_is_the_one_with_the_fewest_faults(sentences, scheme):
    assert schemes.find_scheme([line.split() for line in sentences]) == scheme


def test_types_may_have_hyphens():
    labels = ["B-x-y", "I-x-y", "I-x-z"]

    assert schemes.find_entities(labels) == [
        Entity("x-y", 0, 2),
        Entity("x-z", 2, 3),
    ]


def test_labels_of_other_programs_are_read_as_iobes():
    labels = ["U-A", "B-A", "L-A", "X", "I-A", "[SEP]", "B-B", "I-B", "L-B"]
    found = schemes.find_entities(labels, IOBES)
    assert found == [("A", 0, 1), ("A", 1, 3), ("A", 4, 5), ("B", 6, 9)]


def test_labels_without_a_scheme_are_classes_of_single_words():
    labels = ["PER", "PER", "O", "B-x"]
    entities = schemes.find_entities(labels, NO_SCHEME)

    assert entities == [("PER", 0, 1), ("PER", 1, 2), ("B-x", 3, 4)]
    assert schemes.write_labels(entities, 4, NO_SCHEME) == labels


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        ("B-A I-A O", IOB2),
        ("B-A E-A O S-A", IOBES),
        ("NN VB", NO_SCHEME),
        ("B-A I-A O X", IOB2),
        ("B-A I-A B-B I-B O __PAD__ [CLS] [SEP]", IOB2),
        ("B-A I-A L-A O U-A", IOBES),
        ("E-mail PHONE URL O", NO_SCHEME),
    ],
)
def test_the_labels_of_a_model_tell_its_scheme(labels, scheme):
    assert schemes.scheme_of_model(labels.split()) == scheme

"""Hidden states of a BERT encoder, computed by PyTorch and transformers.

Comes in: a Hugging Face folder. Goes out: one .npz with the ids of a fixed set
of texts and every layer's output for them, to compare another implementation
with. It knows nothing of bert_tf and runs in an environment of its own
(`torch`, `transformers`):

    python benchmarks/hidden_states_pytorch.py --model minilm --out hidden.npz

Arrays, for B texts padded to S tokens, L layers of width D:
    text_a, text_b [B]: the texts; text_b is "" where there is only one.
    input_ids, attention_mask, token_type_ids [B, S]: int64.
    hidden_states [L + 1, B, S, D]: float32; the embeddings' output comes first.
    pooled_output [B, D]: float32.
"""

import argparse

import numpy as np
import torch
import transformers

TEXTS = [
    ("Yes.", ""),
    ("Who wrote that?", ""),
    ("The harbour freezes over in most winters.", ""),
    ("Prices rose by 3.5% in May, to $1,204.", ""),
    ("She'd've gone, wouldn't she -- if only he'd asked?", ""),
    ("Zoë's café in Málaga serves crème brûlée.", ""),
    ("Donaudampfschifffahrtsgesellschaft is a single word.", ""),
    ("In Japan the sea bream (鯛) is eaten at celebrations.", ""),
    ("e = mc^2 holds; a <b> tag and an_underscore do not matter.", ""),
    ("ALL CAPITALS SHOUT, Some Capitals Greet, none whisper.", ""),
    ("tiny model " * 12, ""),
    (
        "A lighthouse keeper trims the wick at dusk, winds the clockwork that "
        "turns the lens, notes wind and visibility in the log, and sleeps in "
        "four-hour watches until the sun makes the lamp unnecessary.",
        "",
    ),
    (
        "Bread needs flour, water, salt and time. Of these four, time is what "
        "most recipes leave out: a dough that rests overnight in a cool room "
        "tastes of more than one that is hurried along with sugar and extra "
        "yeast. Mix everything in the evening, cover the bowl, and go to bed. "
        "In the morning the surface is domed and full of bubbles; fold it over "
        "itself a few times, shape it without squeezing out the gas, and let "
        "it rise once more while the oven heats. Bake it hot, with steam in "
        "the first ten minutes, then dry, until the crust is dark and the loaf "
        "sounds hollow when it is knocked on from below.",
        "",
    ),
    ("Where is the station?", "It is behind the church."),
    ("He left.", "Nobody noticed until the following Thursday morning."),
    (
        "The committee rejected the proposal by nine votes to four.",
        "The proposal was turned down, 9-4, by the committee.",
    ),
    (
        "Shares of the company fell 12 percent on Friday.",
        "On Friday, shares in the company rose by 12 percent.",
    ),
    ("What is the capital of Peru?", "Lima has been the capital since 1535."),
    (
        "Which river flows through Vienna, Bratislava, Budapest and Belgrade?",
        "The Danube rises in the Black Forest and reaches the Black Sea after "
        "some 2,850 kilometres, passing four capital cities on its way.",
    ),
    ("A.", "B."),
    ("Why?", "Because the bridge, built in 1887, could not carry two trains."),
    (
        "The old theatre on the market square had been closed for eleven years "
        "when a group of neighbours bought it together, repaired the roof, and "
        "painted the seats.",
        "It opened again in spring.",
    ),
    ("Naïve façades fool no one.", "El Niño warms the Pacific."),
    ("Rain is expected.", "Rain is expected."),
]


def main():
    """Run the encoder once over all texts and save what it computed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--model",
        required=True,
        help="Folder with config.json, weights and vocabulary.",
    )
    parser.add_argument("--out", required=True, help="The .npz to write.")
    options = parser.parse_args()

    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    model = transformers.BertModel.from_pretrained(
        options.model, dtype=torch.float32
    ).eval()
    encoded = [
        tokenizer(
            text_a,
            text_b or None,
            padding=False,
            truncation=False,
            return_token_type_ids=True,
        )
        for text_a, text_b in TEXTS
    ]
    batch = tokenizer.pad(encoded, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**batch, output_hidden_states=True)

    hidden_states = torch.stack(outputs.hidden_states).numpy()
    np.savez_compressed(
        options.out,
        text_a=np.array([text_a for text_a, _ in TEXTS]),
        text_b=np.array([text_b for _, text_b in TEXTS]),
        **{name: batch[name].numpy() for name in batch},
        hidden_states=hidden_states,
        pooled_output=outputs.pooler_output.numpy(),
    )
    print(f"hidden_states {hidden_states.shape} -> {options.out}")


if __name__ == "__main__":
    main()

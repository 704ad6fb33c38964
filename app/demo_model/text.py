"""mini-llava's tokenizer, processor and prompt, and how a question becomes training tokens."""

from __future__ import annotations

import random
from bisect import bisect_right
from functools import lru_cache

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPImageProcessorPil, LlavaProcessor, PreTrainedTokenizerFast

from app.demo_model.architecture import PATCH_SIZE
from app.demo_model.crowded import crowded_scene
from app.demo_model.lettering import CHARACTERS
from app.demo_model.questions import UNKNOWN_ANSWER, questions_about
from app.demo_model.scenes import MODEL_SIZE, random_scene

VOCABULARY = 1024
# LLaVA-1.5's own turn format (llava-hf/llava-1.5-7b-hf): USER, the picture, a line break, the question, ASSISTANT.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' ' }}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def train_tokenizer(seed: int = 0, scenes: int = 3000, extra: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """Byte-level BPE on the questions' own language: any text can be written, a usual question takes about ten tokens.

    Everything is lower-cased, so that case never matters; numbers are split into digits.
    """
    corpus = [*extra]
    for number in range(scenes):
        make = crowded_scene if number % 2 else random_scene
        for question in questions_about(make(seed * 1000003 + number), seed):
            corpus.append(f"USER: \n{question.text} ASSISTANT: {question.answer}")
    random.Random(seed).shuffle(corpus)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<s>", "</s>", "<pad>", "<image>"]
    tokenizer.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY - 1,
            special_tokens=specials,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    # Kept as one piece so that it survives lower-casing as people write it.
    tokenizer.add_tokens([AddedToken(UNKNOWN_ANSWER, normalized=False, lstrip=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )


def build_processor(tokenizer) -> LlavaProcessor:
    side = {"height": MODEL_SIZE, "width": MODEL_SIZE}
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": MODEL_SIZE}, crop_size=side),
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
        chat_template=CHAT_TEMPLATE,
    )


class Encoder:
    """Questions as token ids, the same ids that the processor makes of the whole prompt."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.prefix = tokenizer("USER: ").input_ids  # with <s>; the visual tokens follow
        self._ids = lru_cache(maxsize=200_000)(lambda text: tuple(tokenizer(text, add_special_tokens=False).input_ids))
        self._ends = lru_cache(maxsize=200_000)(self._token_ends)
        self.characters = {self.character_token(name): number for number, name in enumerate(CHARACTERS, start=1)}

    def _token_ends(self, text: str) -> tuple[int, ...]:
        offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
        return tuple(end for _, end in offsets)

    def token_at(self, text: str, character: int) -> int:
        """The number of the token that holds a character of `text`."""
        return bisect_right(self._ends(text), character)

    def character_token(self, character: str) -> int:
        """The token of one character within a code."""
        (token,) = self._ids(character)
        return token

    def asked_text(self, question: str) -> str:
        return f"\n{question.strip()} ASSISTANT:"

    def turn(self, question: str, answer: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(ids of the question's turn, ids of the answer with its end)."""
        return (
            self._ids(self.asked_text(question)),
            (*self._ids(f" {answer}"), self.tokenizer.eos_token_id),
        )

"""What a request costs in floating-point operations, from configurations and token counts alone.

Two conventions live here, and every figure says which one it follows:

* **visual**: the decoder's work on the visual tokens alone, which is what the authors of FitPrune call the budget
  (arXiv 2409.10197);
* **request**: vision tower, projector, prefill with the text, scoring, and decoding, as a FLOP counter would see it.

FLOPs are 2 per multiply-add and cover matrix products (and the patch convolution) only: no norms, softmax, rotary
embedding or activation. Attention is counted as the full square, queries times keys, whether or not a kernel skips
its causal half. Everything is integer arithmetic, so equal inputs give equal figures on every machine.

It may import `checks`, and neither torch nor transformers.
"""

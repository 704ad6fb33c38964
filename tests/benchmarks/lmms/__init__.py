"""The lmms-eval plugin inside lmms-eval: `make bench-lmms`, in an environment of its own."""

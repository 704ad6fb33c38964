"""One page each: components, events, and the translation of errors into messages. No model code."""

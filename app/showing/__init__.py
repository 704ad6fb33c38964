"""What is shown of an answer: figures, differing words, tables, and where tokens looked."""

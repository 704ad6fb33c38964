"""The evidence: one program that answers this project's questions about pruning, `make evidence`.

A plan says how many questions, which seeds, methods and budgets; the bench answers them, each once, and keeps what it
did; a section asks one thing of the answers; the report is all sections, with raw rows beside it.
"""

from app.parts.answers.component import Answers, Board, Card, Row

__all__ = ["Answers", "Board", "Card", "Row"]

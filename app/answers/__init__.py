from app.answers.component import Answers, Board, Card, Row

__all__ = ["Answers", "Board", "Card", "Row"]

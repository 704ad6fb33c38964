from app.parts.budget.component import Budget, Plans, plans_of

__all__ = ["Budget", "Plans", "plans_of"]

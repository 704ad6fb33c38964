from app.picker.component import Choice, Choices, Picker

__all__ = ["Choice", "Choices", "Picker"]

from app.parts.picker.component import Choice, Choices, Picker

__all__ = ["Choice", "Choices", "Picker"]

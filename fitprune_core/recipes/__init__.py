"""How many visual tokens each layer drops: recipes and their files, the fit from statistics, and where a model's are.

Numpy alone, no torch and no model. It may import `cost` and `checks`.
"""

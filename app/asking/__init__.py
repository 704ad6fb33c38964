"""What is asked: pictures, questions, sides and budgets, from a visitor, a link, a scene or a file."""

"""What is asked: definitions, profiles, and the pure rules of every suite."""

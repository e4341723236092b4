"""Model cards: read their tables and front matter, audit their arithmetic, write them again. Pure."""

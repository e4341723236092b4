"""What people look at: terminal tables, Markdown, HTML, JUnit, step summaries."""

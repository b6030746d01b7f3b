"""The audit log's tree at work: its keys, who makes it longer, what proves it and what retention takes."""

"""Files that the agent keeps up to date with secrets, for programs that can only read files."""

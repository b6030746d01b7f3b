"""Named secrets as they are stored: definitions, sealed versions, grants, and the masters of session tickets."""

"""Notices: what people should be told of before it hurts. Pure: facts and a time in, what is due to whom out."""

"""DNS as octets: messages, names and record data. No I/O, no policy."""

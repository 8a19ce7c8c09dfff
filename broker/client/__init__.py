"""The terminal chat client, `broker chat`: a process of its own that knows the broker only by its address.

lines         what a line of the conversation is                                    pure
recogniser    which of the broker's sentences a line is                             pure
people        who is there                                                          pure
sentences     what the client itself says                                           pure
conversation  who and where one is, and what to answer the broker                   pure
painter       lines to coloured, aligned text                                       pure
completion    what Tab offers                                                       pure
connection    a byte stream to the broker, and the delays between attempts          I/O
finding       from a URL or a state directory to a connection                       I/O
client        keeps somebody in the chat: connects, enters, connects again          I/O
screen        the input line and the text above it                                  I/O
terminal      the client on a screen                                                I/O
piped         the client between two pipes or files                                 I/O
"""

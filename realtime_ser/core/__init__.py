"""The pure core: no clock, thread, socket, await, log or model. Audio and answers in, events and
jobs out, all counted in samples."""

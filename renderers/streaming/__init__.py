"""What a node shows to a person who has booked it: a server that draws what a camera sees, coarse first, then refined.

`camera` checks what is asked for and `grid` says which points that samples; `references` has the orbits of deep views;
`pool` draws on all cores, and `studio` decides what is drawn, how coarsely (`pacing`), and for whom (`viewers`).
`desk` keeps one user's studio at a time. `app` answers requests, `wire` has the forms of messages, `server` runs it.
Nothing here is imported before a node serves people, and nothing of it is needed for batch work.
"""

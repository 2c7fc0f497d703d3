# connections.gp: what more connections do to throughput and to the server's CPU time per request.
x_title = 'connections'
left_title = 'throughput (requests/s)'
right_title = 'server CPU (µs/request)'
load source.'/panels.gp'

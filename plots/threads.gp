# threads.gp: what more threads of the shared pool do to throughput and to CPU time per request.
x_title = 'threads of the pool'
left_title = 'throughput (requests/s)'
right_title = 'server CPU (µs/request)'
load source.'/panels.gp'

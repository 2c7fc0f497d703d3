# calls.gp: what it takes a request that more calls of a database belong to it.
x_title = 'calls of a request'
left_title = 'median response time (ms)'
right_title = 'throughput (requests/s)'
load source.'/panels.gp'

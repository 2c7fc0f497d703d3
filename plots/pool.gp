# pool.gp: what a larger pool of connections to a database does to throughput and response time.
x_title = 'largest size of the pool'
left_title = 'throughput (requests/s)'
right_title = 'median response time (ms)'
load source.'/panels.gp'

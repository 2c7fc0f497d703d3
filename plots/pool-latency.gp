# pool-latency.gp: what a larger pool of connections to a database does to response times, at one
# rate.
x_title = 'largest size of the pool'
left_title = 'median response time (ms)'
right_title = 'p99 response time (ms)'
load source.'/panels.gp'

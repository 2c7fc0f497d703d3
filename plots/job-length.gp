# job-length.gp: what jobs of a length do to the response times of the others. Where the curve of a
# pool is below that of the same loop inline, a thread pays.
x_title = 'length of a job (µs)'
left_title = 'median response time (ms)'
right_title = 'p99 response time (ms)'
load source.'/panels.gp'

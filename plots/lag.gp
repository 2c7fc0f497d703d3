# lag.gp: the lag of event loops over time, `loopmark plot --lag`: a loop that is blocked shows as
# teeth, each as high as the stall is long, since what is due in it comes at its end.
#
# data   index i-1, of the i-th log: seconds, ms
# needs  x_most, y_least, y_most

load source.'/style.gp'
n = words(servers)
set bmargin screen (caption_px + 60.0) / height
set logscale y
set xrange [0:x_most * 1.02]
set yrange [y_least / 1.5:y_most * 1.6]
set xlabel 'time (s)'
set ylabel 'lag (ms), log scale'
set arrow 1 from graph 0, first 10 to graph 1, first 10 nohead lc rgb '#994444' dt 2 lw 1.2
plot for [i = 1:n] data index i-1 using 1:2 with lines lw 1.2 lc rgb color(i) notitle, \
     for [i = 1:n] data index i-1 using 1:2 with points pt shape(i) ps 0.5 lc rgb color(i) \
         notitle, \
     for [i = 1:n] keyentry with linespoints lw 1.2 pt shape(i) ps 0.8 lc rgb color(i) \
         title server(i), \
     keyentry with lines dt 2 lw 1.2 lc rgb '#994444' title '10 ms: unhealthy'

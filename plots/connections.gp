# connections.gp: what more connections do to throughput and to the server's CPU time per request.
#
# data   index i-1, of server i: x, then median low high kind of throughput, and again of CPU per
#        request

load source.'/style.gp'
n = words(servers)
panel(left, right) = sprintf('set lmargin screen %f; set rmargin screen %f', left, right)
set tmargin screen 1 - 80.0 / height
set bmargin screen (caption_px + 60.0) / height
set logscale x
set xrange [x_least / 1.3:x_most * 1.3]
set xlabel 'connections, log scale'
set label 1001 title at screen 0.5, screen 1 - 16.0 / height center font 'sans-serif,13'
set label 1000 at screen 0.015, screen (caption_px - 10.0) / height
set style data points

set multiplot
unset key
eval panel(90.0 / width, 0.5 - 120.0 / width)
set title 'throughput (requests/s)' font 'sans-serif,11'
set yrange [0:y_most * 1.08]
plot for [i = 1:n] data index i-1 using 1:($5 == 2 ? NaN : $2) with lines lw 2 dt dash(i) \
         lc rgb color(i), \
     for [i = 1:n] data index i-1 using 1:2:3:4 with yerrorbars pt 0 lw 1.3 \
         lc rgb color(i), \
     for [i = 1:n] data index i-1 using 1:2:(mark(i, $5)) with points pt variable ps 1.3 \
         lc rgb color(i)

unset label
set key
set yrange [0:y2_most * 1.08]
eval panel(0.5 - 30.0 / width, 1 - 210.0 / width)
set title 'server CPU (µs/request)' font 'sans-serif,11'
plot for [i = 1:n] data index i-1 using 1:($9 == 2 ? NaN : $6) with lines lw 2 dt dash(i) \
         lc rgb color(i) notitle, \
     for [i = 1:n] data index i-1 using 1:6:7:8 with yerrorbars pt 0 lw 1.3 \
         lc rgb color(i) notitle, \
     for [i = 1:n] data index i-1 using 1:6:(mark(i, $9)) with points pt variable ps 1.3 \
         lc rgb color(i) notitle, \
     for [i = 1:n] keyentry with linespoints lw 2 dt dash(i) pt shape(i) ps 1.3 \
         lc rgb color(i) title server(i), \
     keyentry with points pt 6 ps 1.3 lc rgb '#444444' title 'hollow: not ranked', \
     keyentry with points pt CROSS ps 1.3 lc rgb '#444444' title 'invalid'
unset multiplot

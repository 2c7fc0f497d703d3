# idle.gp: what connections that do nothing cost those that do. x is log(1 + idle), so that none has
# a place.
#
# data   index i-1, of server i: x, then median low high kind of the server's CPU per request

load source.'/style.gp'
n = words(servers)
set bmargin screen (caption_px + 60.0) / height
set nonlinear x via log10(x + 1) inverse 10**x - 1
set xrange [0:x_most * 1.2]
set xtics (0, 1, 10, 100, 1000, 10000, 100000)
set xlabel 'idle connections, log scale from 0'
set ylabel 'server CPU (µs/request)'
if (y_most > 20 * y_least) {
    set logscale y
    set yrange [y_least / 1.5:y_most * 1.5]
    set ylabel 'server CPU (µs/request), log scale'
} else {
    set yrange [0:y_most * 1.08]
}
plot for [i = 1:n] data index i-1 using 1:($5 == 2 ? NaN : $2) with lines lw 2 dt dash(i) \
         lc rgb color(i) notitle, \
     for [i = 1:n] data index i-1 using 1:2:3:4 with yerrorbars pt 0 lw 1.3 \
         lc rgb color(i) notitle, \
     for [i = 1:n] data index i-1 using 1:2:(mark(i, $5)) with points pt variable ps 1.3 \
         lc rgb color(i) notitle, \
     for [i = 1:n] keyentry with linespoints lw 2 dt dash(i) pt shape(i) ps 1.3 \
         lc rgb color(i) title server(i), \
     keyentry with points pt 6 ps 1.3 lc rgb '#444444' title 'hollow: not ranked', \
     keyentry with points pt CROSS ps 1.3 lc rgb '#444444' title 'invalid'

# panels.gp: shared by all figures of two metrics against one axis, side by side.
#
# data   index i-1, of server i: x, then median low high kind of the left metric, and again of the
#        right one
# needs  x_title, left_title, right_title, y_least, y_most, y2_least, y2_most

load source.'/style.gp'
n = words(servers)
panel(left, right) = sprintf('set lmargin screen %f; set rmargin screen %f', left, right)
# From zero, where that leaves the small values visible.
scale(least, most) = least > 0 && most > 50 * least ? \
    sprintf('set logscale y; set yrange [%g:%g]', least / 1.5, most * 1.5) : \
    sprintf('unset logscale y; set yrange [0:%g]', most * 1.08)
set tmargin screen 1 - 80.0 / height
set bmargin screen (caption_px + 60.0) / height
set logscale x
set xrange [x_least / 1.3:x_most * 1.3]
set xlabel x_title.', log scale'
if (x_most < 300 * x_least) { # or only the powers of ten fit
    set xtics (1e-9)
    do for [e = 0:5] {
        do for [m in '1 2 5'] { x = m * 10.0**e; set xtics add (sprintf('%g', x) x) }
    }
}
set label 1001 title at screen 0.5, screen 1 - 16.0 / height center font 'sans-serif,13'
set label 1000 at screen 0.015, screen (caption_px - 10.0) / height
set style data points

set multiplot
unset key
eval panel(90.0 / width, 0.5 - 120.0 / width)
set title left_title font 'sans-serif,11'
eval scale(y_least, y_most)
plot for [i = 1:n] data index i-1 using 1:($5 == 2 ? NaN : $2) with lines lw 2 dt dash(i) \
         lc rgb color(i), \
     for [i = 1:n] data index i-1 using 1:2:3:4 with yerrorbars pt 0 lw 1.3 \
         lc rgb color(i), \
     for [i = 1:n] data index i-1 using 1:2:(mark(i, $5)) with points pt variable ps 1.3 \
         lc rgb color(i)

unset label
set key
eval scale(y2_least, y2_most)
eval panel(0.5 - 30.0 / width, 1 - 210.0 / width)
set title right_title font 'sans-serif,11'
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

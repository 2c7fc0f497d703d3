// check.js: what hdr-histogram-js says of files, for histogram_js.sh. MODULES holds the package.
//
//   check.js MODULES read LOG            its intervals, as JSON for compare.py
//   check.js MODULES add LOG             the same of each tag's intervals added up
//   check.js MODULES table LOG hgrm|csv  all intervals added up, as a percentile table in ms
//   check.js MODULES write LOG           writes one with many configurations; prints its intervals
//   check.js MODULES base64 TEXT         writes such histograms, one a line; prints them
//   check.js MODULES nearest LOG         writes histograms of 1 to n; prints node's own percentiles
//
// Counters have 64 bits and never WebAssembly: with less, large counts are read wrong.
'use strict';
const fs = require('fs');
const path = require('path');
const hdr = require(path.resolve(process.argv[2], 'hdr-histogram-js'));

const QUANTILES = { p50: 50, p90: 90, p95: 95, p99: 99, p999: 99.9, p9999: 99.99 };

const tagOf = (histogram) =>
  !histogram.tag || histogram.tag === 'NO TAG' ? null : histogram.tag;

// With a lowest value above 1, maxValue lies beyond the range of values that the maximum is in.
const maxOf = (histogram) =>
  histogram.lowestDiscernibleValue > 1 ? histogram.getValueAtPercentile(100) : histogram.maxValue;

function numbersOf(histogram) {
  const numbers = {
    tag: tagOf(histogram),
    count: histogram.totalCount,
    max: maxOf(histogram),
    mean: histogram.mean,
    stddev: histogram.stdDeviation,
  };
  for (const [name, percentile] of Object.entries(QUANTILES))
    numbers[name] = histogram.getValueAtPercentile(percentile);
  return numbers;
}

const timesOf = (histogram) => ({
  start_s: histogram.startTimeStampMsec / 1000,
  length_s: (histogram.endTimeStampMsec - histogram.startTimeStampMsec) / 1000,
});

function readLog(text) {
  const reader = new hdr.HistogramLogReader(text, 64, false);
  const histograms = [];
  for (let one; (one = reader.nextIntervalHistogram()) !== null; ) histograms.push(one);
  return histograms;
}

function addByTag(histograms) {
  const sums = new Map();
  for (const one of histograms) {
    const sum = sums.get(tagOf(one));
    if (sum) sum.add(one);
    else sums.set(tagOf(one), one);
  }
  return [...sums.values()];
}

function addAll(histograms) {
  histograms.slice(1).forEach((one) => histograms[0].add(one));
  return histograms[0];
}

function build(lowest, highest, digits) {
  return hdr.build({
    bitBucketSize: 64,
    useWebAssembly: false,
    autoResize: false,
    lowestDiscernibleValue: lowest,
    highestTrackableValue: highest,
    numberOfSignificantValueDigits: digits,
  });
}

// The same numbers from 0 to 1 in every run (Park and Miller's generator).
let state = 20231114;
const random = () => (state = (state * 48271) % 2147483647) / 2147483647;

// Values over the whole range, near powers of two too; counts from 1 to 2^40.
function fill(histogram, highest, samples) {
  for (let i = 0; i < samples; i++) {
    const power = 2 ** Math.floor(random() * Math.log2(highest));
    const value = random() < 0.5 ? power - 1 + Math.floor(random() * 3) : power * (1 + random());
    const count = random() < 0.9 ? 1 : 2 ** Math.floor(random() * 40);
    histogram.recordValueWithCount(Math.min(highest, Math.floor(value)), count);
  }
}

// Values stay below 2^49, above which this implementation's arithmetic is not exact. More digits
// over more range are right too, but take seconds.
function manyHistograms() {
  const histograms = [];
  for (const digits of [1, 2, 3, 4, 5])
    for (const lowest of [1, 7, 1000, 1024])
      for (const highest of [lowest * 2, 3600000, digits < 4 ? 2 ** 42 : 2 ** 24 - 1]) {
        const histogram = build(lowest, highest, digits);
        fill(histogram, highest, histograms.length % 10 === 9 ? 0 : 60);
        if (lowest > 1) histogram.tag = `lowest-${lowest}/${highest}`;
        histogram.startTimeStampMsec = histograms.length * 1000;
        histogram.endTimeStampMsec = histogram.startTimeStampMsec + 1000;
        histograms.push(histogram);
      }
  return histograms;
}

const START_MSEC = 1700000000000;

function logOf(histograms) {
  let text = '';
  const writer = new hdr.HistogramLogWriter((line) => (text += line));
  writer.outputLogFormatVersion();
  writer.outputStartTime(START_MSEC);
  writer.outputLegend();
  histograms.forEach((one) => writer.outputIntervalHistogram(one));
  return text;
}

// Of 1 to n, the value at a rank is the rank.
function nodeOfOneTo(n) {
  const histogram = require('perf_hooks').createHistogram({ lowest: 1, highest: 1e6, figures: 3 });
  for (let value = 1; value <= n; value++) histogram.record(value);
  const numbers = { tag: null, count: n };
  for (const [name, percentile] of Object.entries(QUANTILES)) {
    // Node rounds to the nearest rank, the others up. Where that differs, the next one is theirs.
    const part = (n * Math.round(percentile * 100)) % 10000;
    const below = part > 0 && part < 5000 && n * percentile > 100;
    numbers[name] = histogram.percentile(percentile) + (below ? 1 : 0);
  }
  return numbers;
}

const print = (entries) => console.log(JSON.stringify(entries));
const readFile = (file) => readLog(fs.readFileSync(file, 'utf8'));

const commands = {
  read: (file) => print(readFile(file).map((one) => ({ ...numbersOf(one), ...timesOf(one) }))),
  add: (file) => print(addByTag(readFile(file)).map(numbersOf)),
  table: (file, format) =>
    process.stdout.write(
      addAll(readFile(file)).outputPercentileDistribution(5, 1e6, format === 'csv')
    ),
  write: (file) => {
    fs.writeFileSync(file, logOf(manyHistograms()));
    commands.read(file);
  },
  base64: (file) => {
    const lines = manyHistograms().map((one) => hdr.encodeIntoCompressedBase64(one));
    fs.writeFileSync(file, lines.join('\n'));
    print(lines.map((line) => numbersOf(hdr.decodeFromCompressedBase64(line, 64, false))));
  },
  nearest: (file) => {
    const entries = [];
    const histograms = [];
    for (let n = 1; n <= 400; n += n < 40 ? 1 : 7) {
      entries.push(nodeOfOneTo(n));
      const histogram = build(1, 1e6, 3);
      for (let value = 1; value <= n; value++) histogram.recordValue(value);
      histogram.startTimeStampMsec = histogram.endTimeStampMsec = histograms.length * 1000;
      histograms.push(histogram);
    }
    fs.writeFileSync(file, logOf(histograms));
    print(entries);
  },
};

const [command, ...rest] = process.argv.slice(3);
commands[command](...rest);

package lab

import (
	"slices"
	"time"
)

// ledger accounts for numbered packets as they arrive, number by number. Times
// are since the traffic began.
type ledger struct {
	next     int64                   // the least number above all that came
	missing  map[int64]time.Duration // numbers below it that did not come, and when the next that came was sent
	received int64                   // numbers that came
	twice    int64                   // packets whose number had come already
	late     int64                   // numbers that came after a greater one
	delay    time.Duration           // the longest way
	silence  time.Duration           // the longest time between two that came
	last     time.Duration           // when the last one came
}

// take accounts for a packet.
func (l *ledger) take(number int64, sent, now time.Duration) {
	l.delay = max(l.delay, now-sent)
	if l.received > 0 {
		l.silence = max(l.silence, now-l.last)
	}
	l.last = now
	if number < l.next {
		if _, waited := l.missing[number]; !waited {
			l.twice++
			return
		}
		delete(l.missing, number)
		l.late++
		l.received++
		return
	}
	l.skip(number, sent)
	l.next = number + 1
	l.received++
}

// skip says that number is the next that came, or the first that was never sent.
func (l *ledger) skip(number int64, at time.Duration) {
	if l.missing == nil {
		l.missing = map[int64]time.Duration{}
	}
	for ; l.next < number; l.next++ {
		l.missing[l.next] = at
	}
}

// gap is a run of numbers that did not come.
type gap struct {
	first, last int64
	at          time.Duration // when the next that came was sent
}

// gaps returns what is missing, in order.
func (l *ledger) gaps() []gap {
	var all []gap
	numbers := make([]int64, 0, len(l.missing))
	for n := range l.missing {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		if i := len(all) - 1; i >= 0 && all[i].last == n-1 {
			all[i].last, all[i].at = n, l.missing[n]
			continue
		}
		all = append(all, gap{n, n, l.missing[n]})
	}
	return all
}

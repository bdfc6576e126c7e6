// Package segment owns what a write-ahead log segment is: positions, timelines, names, the assembling of
// a stream into segments, and the form in which their bytes are stored.
//
// Its invariant: an object says in clear what it holds (the Statement in front of it), and decodes to
// exactly these bytes or to an error. The package does no I/O.
package segment

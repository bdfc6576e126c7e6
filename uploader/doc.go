// Package uploader takes segments and links in and gives one durable position out.
//
// Its invariant: a position is durable only when every byte before it is in the store under the statement of the bytes
// that were handed in; and memory is fixed at start: N raw segment buffers and one arena for compressed bytes, which are
// both the limit and the back-pressure. No memory is reused while a Put may still read it.
package uploader

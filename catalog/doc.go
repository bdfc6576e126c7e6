// Package catalog knows what a repository holds and answers questions about it.
//
// Its invariant: every key is spelled here and nowhere else, and every answer is found by asking the
// store, never by remembering. An answer is found, absent or an error; an error never means absent.
package catalog

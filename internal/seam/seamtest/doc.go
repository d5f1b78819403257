// Package seamtest makes times, for tests, that the real clocks show only after a machine has been
// suspended, and clocks by which a long wait is over soon.
//
// This package imports only the standard library.
package seamtest

// Package keysort brings many keys into the order of their bytes. It knows nothing of what they are
// keys of, and imports nothing of the project: what counts and what audits both may use it.
package keysort

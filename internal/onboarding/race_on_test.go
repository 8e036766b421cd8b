//go:build race

package onboarding_test

const underRace = true

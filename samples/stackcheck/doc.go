// Package stackcheck has no code, only tests: of what is in docker/, as far as it can be tested without Docker. They
// read the compose file, the Dockerfile and the configurations, and run the sample's worker to see that each metric of
// the dashboard and of the alerts exists.
package stackcheck

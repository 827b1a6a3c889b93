// The Gateway API's CRDs; only files of the module are read (config/crd/standard), nothing is built.
module serinus.dev/e2e/toolchain/gateway-api

go 1.25.0

require sigs.k8s.io/gateway-api v1.5.1

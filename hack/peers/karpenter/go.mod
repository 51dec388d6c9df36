// The published CustomResourceDefinitions of Karpenter, which tests hold ours against. Nothing is built from it.
module autonodes.io/hack/peers/karpenter

go 1.26.0

require sigs.k8s.io/karpenter v1.14.1

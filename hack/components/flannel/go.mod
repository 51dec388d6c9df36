module autonodes.io/hack/components/flannel

go 1.26.8

module dove.network

go 1.26.0

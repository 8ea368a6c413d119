#!/usr/bin/env bash

#SBATCH -J aflow-01234567
#SBATCH -e /home/me/.asyncflow/aflow-01234567/logs/aflow-01234567-%J.err
#SBATCH -o /home/me/.asyncflow/aflow-01234567/logs/aflow-01234567-%J.out
#SBATCH -p debug
#SBATCH -n 1
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH -t 00:30:00

python -m distributed.cli.dask_worker tls://10.0.0.1:8786 --name cpu-0 --nthreads 2 --memory-limit 1.86GiB --nworkers 2 --nanny --death-timeout 60.0 --resources cores=2,memory=2000000000,pool-cpu=1099511627776 --dashboard-address 127.0.0.1:0 --no-dashboard --protocol tls --tls-ca-file /home/me/.asyncflow/aflow-01234567/tls/ca.pem --tls-cert /home/me/.asyncflow/aflow-01234567/tls/worker-cert.pem --tls-key /home/me/.asyncflow/aflow-01234567/tls/worker-key.pem --lifetime 1665s --lifetime-stagger 45s

dd if=$S/a.mrc of=a.mrc bs=10K conv=fsync
dd if=$S/b.mrc of=b.mrc bs=4096 oflag=direct
dd if=$S/a.mrc of=a bs=1M

dd if=$S/b.mrc of=a.mrc bs=512 skip=3 seek=5 count=9 conv=notrunc
dd if=a.mrc of=c.mrc bs=64K conv=sparse,fsync

dd if=$S/b.mrc of=b.mrc bs=1000 seek=7 count=3
dd if=a.mrc of=a oflag=append conv=notrunc
dd if=c.mrc of=c bs=7000

dd if=/dev/null of=a.mrc bs=1 seek=50000
dd if=$S/a.mrc of=b.mrc bs=1K skip=10 seek=10 conv=notrunc,fdatasync

;; 64-bit addresses with guard pages: the address alone is compared with the size, once for all offsets; the offset
;; ends in the guard behind the memory. An offset beyond the guard takes the whole check, where the sum may wrap.
(module (memory i64 1)
  (func (param i64) (result i64)
    (i64.add (i64.load offset=8 (local.get 0)) (i64.load offset=0x1000 (local.get 0))))
  (func (param i64) (result i32) (i32.load offset=0xfffffffffffffff0 (local.get 0)))
  (func (param i64 i32 i64) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
  (func (result i64) (memory.grow (memory.size))))

;;; IR
;; define weak dso_local i64 @f0(ptr %vmctx, i64 %p0) #0 !dbg !20 {
;; entry:
;;   %memory0.p = getelementptr i8, ptr %vmctx, i64 48
;;   %memory0 = load ptr, ptr %memory0.p, align 8, !invariant.load !0, !dereferenceable !{i64 16}, !align !{i64 8}
;;   %memory0.size = getelementptr i8, ptr %memory0, i64 8
;;   br label %start
;; start:
;;   %x1 = load i64, ptr %memory0.size, align 8, !tbaa !2, !range !{i64 65536, i64 4611686018427387904}
;;   %x2 = icmp ugt i64 %p0, %x1
;;   br i1 %x2, label %t4, label %k3, !prof !3
;; k3:
;;   %x5 = load ptr, ptr %memory0, align 8, !tbaa !2
;;   %a6b = getelementptr i8, ptr %x5, i64 %p0
;;   %a6 = getelementptr i8, ptr %a6b, i64 8
;;   %x7 = load i64, ptr %a6, align 1, !tbaa !1, !dbg !DILocation(line: 50, scope: !20)
;;   %x7k = trunc i64 %x7 to i32
;;   call void @llvm.var.annotation.p0.p0(ptr null, ptr null, ptr null, i32 %x7k, ptr null)
;;   %x8 = load ptr, ptr %memory0, align 8, !tbaa !2
;;   %a9b = getelementptr i8, ptr %x8, i64 %p0
;;   %a9 = getelementptr i8, ptr %a9b, i64 4096
;;   %x10 = load i64, ptr %a9, align 1, !tbaa !1, !dbg !DILocation(line: 55, scope: !20)
;;   %x10k = trunc i64 %x10 to i32
;;   call void @llvm.var.annotation.p0.p0(ptr null, ptr null, ptr null, i32 %x10k, ptr null)
;;   %v1 = add i64 %x7, %x10, !dbg !DILocation(line: 50, scope: !20)
;;   ret i64 %v1
;; t4:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 50, scope: !20)
;;   call void @llvm.ubsantrap(i8 1) #1, !dbg !DILocation(line: 50, scope: !20)
;;   unreachable
;; }

;; define weak dso_local i32 @f1(ptr %vmctx, i64 %p0) #0 !dbg !21 {
;; entry:
;;   %memory0.p = getelementptr i8, ptr %vmctx, i64 48
;;   %memory0 = load ptr, ptr %memory0.p, align 8, !invariant.load !0, !dereferenceable !{i64 16}, !align !{i64 8}
;;   %memory0.size = getelementptr i8, ptr %memory0, i64 8
;;   br label %start
;; start:
;;   %x1 = load i64, ptr %memory0.size, align 8, !tbaa !2, !range !{i64 65536, i64 4611686018427387904}
;;   %x2e = add i64 %p0, -12
;;   %x2c = icmp ult i64 %x2e, -12
;;   %x2o = icmp ugt i64 %x2e, %x1
;;   %x2 = or i1 %x2c, %x2o
;;   br i1 %x2, label %t4, label %k3, !prof !3
;; k3:
;;   %x5 = load ptr, ptr %memory0, align 8, !tbaa !2
;;   %a6b = getelementptr i8, ptr %x5, i64 %p0
;;   %a6 = getelementptr i8, ptr %a6b, i64 -16
;;   %x7 = load i32, ptr %a6, align 1, !tbaa !1, !dbg !DILocation(line: 65, scope: !21)
;;   call void @llvm.var.annotation.p0.p0(ptr null, ptr null, ptr null, i32 %x7, ptr null)
;;   ret i32 %x7
;; t4:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 65, scope: !21)
;;   call void @llvm.ubsantrap(i8 1) #1, !dbg !DILocation(line: 65, scope: !21)
;;   unreachable
;; }

;; define weak dso_local void @f2(ptr %vmctx, i64 %p0, i32 %p1, i64 %p2) #0 !dbg !22 {
;; entry:
;;   %builtins.p = getelementptr i8, ptr %vmctx, i64 24
;;   %builtins = load ptr, ptr %builtins.p, align 8, !invariant.load !0
;;   %builtin2.p = getelementptr ptr, ptr %builtins, i64 2
;;   %builtin2 = load ptr, ptr %builtin2.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   call void %builtin2(ptr %vmctx, i32 0, i64 %p0, i32 %p1, i64 %p2), !dbg !DILocation(line: 86, scope: !22)
;;   ret void
;; }

;; define weak dso_local i64 @f3(ptr %vmctx) #0 !dbg !23 {
;; entry:
;;   %memory0.p = getelementptr i8, ptr %vmctx, i64 48
;;   %memory0 = load ptr, ptr %memory0.p, align 8, !invariant.load !0, !dereferenceable !{i64 16}, !align !{i64 8}
;;   %memory0.size = getelementptr i8, ptr %memory0, i64 8
;;   %builtins.p = getelementptr i8, ptr %vmctx, i64 24
;;   %builtins = load ptr, ptr %builtins.p, align 8, !invariant.load !0
;;   %builtin0.p = getelementptr ptr, ptr %builtins, i64 0
;;   %builtin0 = load ptr, ptr %builtin0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1 = load i64, ptr %memory0.size, align 8, !tbaa !2, !range !{i64 65536, i64 4611686018427387904}
;;   %x2 = lshr i64 %x1, 16
;;   %x3 = call i64 %builtin0(ptr %vmctx, i32 0, i64 %x2), !dbg !DILocation(line: 94, scope: !23)
;;   ret i64 %x3
;; }

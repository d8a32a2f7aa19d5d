;; Guard pages: zero-extended address, no check unless the offset exceeds the guard.
(module (memory 1)
  (func (param i32) (result i32) (i32.load offset=16 (local.get 0)))
  (func (param i32) (result i64) (i64.load8_s (local.get 0)))
  (func (param i32 i64) (i64.store16 (local.get 0) (local.get 1)))
  (func (result i32) (i32.load offset=8 (i32.const -4)))
  (func (param i32) (result i32) (i32.load offset=0x90000000 (local.get 0)))
  (func (result i32) (memory.grow (memory.size))))

;;; IR
;; define weak dso_local i32 @f0(ptr %vmctx, i32 %p0) #0 !dbg !20 {
;; entry:
;;   %base0.p = getelementptr i8, ptr %vmctx, i64 56
;;   %base0 = load ptr, ptr %base0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %a1z = zext i32 %p0 to i64
;;   %a1b = getelementptr i8, ptr %base0, i64 %a1z
;;   %a1 = getelementptr i8, ptr %a1b, i64 16
;;   %x2 = load i32, ptr %a1, align 1, !tbaa !1, !dbg !DILocation(line: 51, scope: !20)
;;   call void @llvm.var.annotation.p0.p0(ptr null, ptr null, ptr null, i32 %x2, ptr null)
;;   ret i32 %x2
;; }

;; define weak dso_local i64 @f1(ptr %vmctx, i32 %p0) #0 !dbg !21 {
;; entry:
;;   %base0.p = getelementptr i8, ptr %vmctx, i64 56
;;   %base0 = load ptr, ptr %base0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %a1z = zext i32 %p0 to i64
;;   %a1 = getelementptr i8, ptr %base0, i64 %a1z
;;   %x2n = load i8, ptr %a1, align 1, !tbaa !1, !dbg !DILocation(line: 59, scope: !21)
;;   %x2 = sext i8 %x2n to i64, !dbg !DILocation(line: 59, scope: !21)
;;   %x2k = trunc i64 %x2 to i32
;;   call void @llvm.var.annotation.p0.p0(ptr null, ptr null, ptr null, i32 %x2k, ptr null)
;;   ret i64 %x2
;; }

;; define weak dso_local void @f2(ptr %vmctx, i32 %p0, i64 %p1) #0 !dbg !22 {
;; entry:
;;   %base0.p = getelementptr i8, ptr %vmctx, i64 56
;;   %base0 = load ptr, ptr %base0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %a1z = zext i32 %p0 to i64
;;   %a1 = getelementptr i8, ptr %base0, i64 %a1z
;;   %x2 = trunc i64 %p1 to i16
;;   store i16 %x2, ptr %a1, align 1, !tbaa !1, !dbg !DILocation(line: 69, scope: !22)
;;   ret void
;; }

;; define weak dso_local i32 @f3(ptr %vmctx) #0 !dbg !23 {
;; entry:
;;   %base0.p = getelementptr i8, ptr %vmctx, i64 56
;;   %base0 = load ptr, ptr %base0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %a1.far = getelementptr i8, ptr %base0, i64 4294967300
;;   %x2 = load i32, ptr %a1.far, align 1, !tbaa !1, !dbg !DILocation(line: 77, scope: !23)
;;   call void @llvm.var.annotation.p0.p0(ptr null, ptr null, ptr null, i32 %x2, ptr null)
;;   ret i32 %x2
;; }

;; define weak dso_local i32 @f4(ptr %vmctx, i32 %p0) #0 !dbg !24 {
;; entry:
;;   %memory0.p = getelementptr i8, ptr %vmctx, i64 48
;;   %memory0 = load ptr, ptr %memory0.p, align 8, !invariant.load !0, !dereferenceable !{i64 16}, !align !{i64 8}
;;   %memory0.size = getelementptr i8, ptr %memory0, i64 8
;;   %base0.p = getelementptr i8, ptr %vmctx, i64 56
;;   %base0 = load ptr, ptr %base0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1 = load i64, ptr %memory0.size, align 8, !tbaa !2, !range !{i64 65536, i64 4611686018427387904}
;;   %x2z = zext i32 %p0 to i64
;;   %x2e = add nuw nsw i64 %x2z, 2415919108
;;   %x2 = icmp ugt i64 %x2e, %x1
;;   br i1 %x2, label %t4, label %k3, !prof !3
;; k3:
;;   %a5z = zext i32 %p0 to i64
;;   %a5b = getelementptr i8, ptr %base0, i64 %a5z
;;   %a5 = getelementptr i8, ptr %a5b, i64 2415919104
;;   %x6 = load i32, ptr %a5, align 1, !tbaa !1, !dbg !DILocation(line: 85, scope: !24)
;;   call void @llvm.var.annotation.p0.p0(ptr null, ptr null, ptr null, i32 %x6, ptr null)
;;   ret i32 %x6
;; t4:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 85, scope: !24)
;;   call void @llvm.ubsantrap(i8 1) #1, !dbg !DILocation(line: 85, scope: !24)
;;   unreachable
;; }

;; define weak dso_local i32 @f5(ptr %vmctx) #0 !dbg !25 {
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
;;   %x3 = trunc i64 %x2 to i32
;;   %x4 = zext i32 %x3 to i64
;;   %x5w = call i64 %builtin0(ptr %vmctx, i32 0, i64 %x4), !dbg !DILocation(line: 97, scope: !25)
;;   %x5 = trunc i64 %x5w to i32
;;   ret i32 %x5
;; }

with

newest as (

    select * from {{ ref('fct_segment_memberships') }}
    qualify row_number() over (partition by client_id order by as_of_date desc) = 1

),

final as (

    select
        newest.client_id,
        newest.segment_id,
        segments.persona,
        segments.grade,
        newest.distance_rank_ratio,
        newest.is_unusual,
        newest.as_of_date
    from newest
    left join {{ ref('dim_segments') }} as segments
        on newest.segment_id = segments.segment_id

)

select * from final
